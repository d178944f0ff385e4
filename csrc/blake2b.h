/* BLAKE2b with a 32-byte digest and no key (RFC 7693). */
#ifndef CAPSULE_BLAKE2B_H
#define CAPSULE_BLAKE2B_H

#include <stddef.h>
#include <stdint.h>

#define CAPSULE_BLAKE2B_SIZE 32

void capsule_blake2b_digest(const void *data, size_t size, uint8_t digest[CAPSULE_BLAKE2B_SIZE]);

#endif
