"""Students in the forms that serving wants: ONNX, int8 and FAISS, each proved before it is kept."""
