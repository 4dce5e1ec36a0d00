"""Models of video behind one small call: pictures in, masks, landmarks, embeddings, depth or better pictures out."""
