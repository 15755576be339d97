// nibble/report/sample_report.h
// Reports with made-up but plausible numbers, for tests and for work on the page.
#pragma once

#include "nibble/report/report.h"

namespace nibble::report {

// A search of 20 trials over the tutorial's MNIST network: failed and unfinished trials, filter
// tuning, a power-of-two kernel, curves of several trials.
ReportData sample_search_report();

// A search of three trials that is judged by an error, "mae": trials 0 and 1 are the front, 0 is the best.
ReportData sample_error_report();

// A plain float training run: no search, no references, no quantizers.
ReportData sample_training_report();

}  // namespace nibble::report
