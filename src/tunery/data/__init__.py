"""Text to tokens: training files, their problems, chat templates and token files. Free of torch and transformers."""
