"""Causal language models in the forms that serving wants: ctranslate2 and ONNX with a key-value cache,
each held against the model itself."""
