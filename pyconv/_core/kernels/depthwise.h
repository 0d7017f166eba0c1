/* The register tile of the depthwise convolution with vectors along channels. */
#ifndef PYCONV_DEPTHWISE_H
#define PYCONV_DEPTHWISE_H

/* Output pixels, at most: one load of a weight for so many products, and with that weight they fill the 16 registers of
 * the smaller instruction sets. */
#define DEPTHWISE_PIXELS 14

#endif
