"""Random changes of training images (Lecture row G7): `f(key, image, *, ...)` on one float image `(H, W,
C)`."""
