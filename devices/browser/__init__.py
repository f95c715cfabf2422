"""Browsers: a page of ours runs files in LiteRT.js and ONNX Runtime Web, here or on a phone that opened a link."""
