"""Sizes of transposed convolutions: input, weight, stride, padding, output_padding, groups, dilation."""

BANDED = [
    ((2, 5, 9, 7), (5, 6, 2, 2), 2, 0, 0, 1, 1),
    ((2, 5, 9, 7), (5, 6, 3, 3), 2, 1, 1, 1, 1),
    ((1, 4, 11, 5), (4, 3, 5, 4), (2, 3), ((1, 0), (2, 1)), 0, 2, 1),
    ((1, 3, 6, 5), (3, 4, 2, 3), (3, 4), 0, 0, 1, 1),  # some outputs are reached by no part
    ((1, 3, 6, 5), (3, 4, 3, 8), (5, 8), 0, 0, 1, 1),
    ((2, 6, 7, 9), (6, 1, 4, 4), 2, 1, 0, 6, 1),
    ((1, 3, 8, 9), (3, 4, 3, 3), (2, 1), 1, 0, 1, 1),
    ((1, 3, 8, 9), (3, 4, 3, 3), 2, (5, 4), 0, 1, 1),  # not all of the input is seen
    ((1, 8, 17, 32), (8, 32, 10, 8), 3, (3, 6), 0, 1, 1),  # on AVX-512 phases by tiles of 3 and of 4 rows, and others
]

BY_TILES = [  # phases are computed by Winograd's algorithm, in tiles of 3 or of 4 rows; or some of them
    ((1, 4, 37, 61), (4, 24, 8, 8), 2, 3, 0, 1, 1),
    ((1, 12, 17, 32), (12, 16, 8, 7), 3, (3, 6), 0, 1, 1),
    ((1, 1, 19, 40), (1, 33, 3, 3), 3, (6, 5), 0, 1, 3),
    ((2, 32, 15, 14), (32, 32, 6, 6), 2, 2, 0, 1, 1),
    ((1, 64, 18, 23), (64, 64, 4, 4), 2, 1, 0, 1, 1),  # kernels of 2x2, widened to 3x3, in tiles of 4 rows
    ((2, 128, 15, 14), (128, 64, 3, 3), 2, 1, 1, 1, 1),
]

FEW_CHANNELS = [
    ((1, 24, 7, 33), (24, 3, 4, 4), 2, 1, 0, 1, 1),
    ((1, 8, 5, 6), (8, 1, 5, 5), (1, 2), 2, 0, 1, 1),
    ((2, 4, 6, 5), (4, 2, 3, 3), 2, 1, 1, 1, 3),  # more rows between taps than a step
    ((1, 4, 4, 5), (4, 2, 7, 7), 2, 6, 1, 1, 1),  # most of what the taps give is left away
]
