// nibble/cli/environment.h
// Settings that libraries read while they load, before main().
#pragma once

namespace nibble::cli {

// Starts the program anew, once, with OMP_NUM_THREADS and OPENBLAS_NUM_THREADS set, if they are
// not: to the value of --threads on the command line, else 1. Returns if they are set, or if
// starting anew is not possible (the work is then done with the libraries' own choice).
void settle_thread_counts(int argc, char** argv);

}  // namespace nibble::cli
