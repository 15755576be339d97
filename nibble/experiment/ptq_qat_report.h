// nibble/experiment/ptq_qat_report.h
// The finished cells as a report: the table beside the published one, what it proves, the studies.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "nibble/experiment/cell.h"
#include "nibble/experiment/claims.h"
#include "nibble/experiment/document.h"

namespace nibble::experiment {

//   studies_command  how the studies that options leave out are computed; "": it is not told
Document ptq_qat_document(const PtqQatOptions& options, std::span<const FinishedCell> finished,
                          const std::string& studies_command = "");

// Studies that exist and that options leave out.
std::vector<std::string> other_studies(const PtqQatOptions& options);

}  // namespace nibble::experiment
