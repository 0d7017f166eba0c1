"""The compiled core: Cython drivers over C kernels. Only the cpu backend imports it."""
