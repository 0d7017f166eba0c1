// Which outputs a thread computes, where work is shared out over planes that are cut into HIGH x WIDE outputs.

#include "common.cuh"

// How an array lies, in elements
struct Strides {
    long long image, channel, row, column;
};

template <int HIGH, int WIDE> struct Place {
    int row, column, channel;
    INDEX plane, image;  // plane: of all images together

    __device__ __forceinline__ Place(INDEX work, int height, int width, int channels)
    {
        int across = (width + WIDE - 1) / WIDE, down = (height + HIGH - 1) / HIGH;
        INDEX rows = work / across;
        column = (int)(work - rows * across) * WIDE;
        plane = rows / down;
        row = (int)(rows - plane * down) * HIGH;
        image = plane / channels;
        channel = (int)(plane - image * channels);
    }

    __device__ __forceinline__ long long in(const Strides &strides) const
    {
        return image * strides.image + channel * strides.channel + row * strides.row + column * strides.column;
    }
};
