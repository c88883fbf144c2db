"""The shipped models: one folder each, with its weights, config and model card."""
