// nibble/train/caching_allocator.h
// Keeps torch's CPU memory between steps.
//
// glibc hands large blocks back to the system at every step and takes them again, page fault by page
// fault: a third of the time of a step of the CIFAR-10 network. The steps of a training ask for the
// same sizes again and again, so freed blocks are kept by size and given out anew.
#pragma once

#include <cstddef>

namespace nibble::train {

// Makes torch allocate through the cache from now on. Once per process; later calls do nothing.
void install_caching_allocator();

// Gives the kept blocks back to the system.
void empty_cache();

// Bytes in freed blocks that are kept.
size_t cached_bytes();

}  // namespace nibble::train
