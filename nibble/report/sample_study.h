// nibble/report/sample_study.h
// A study of made-up trials, written at once: tests of the dashboard need ten thousand.
#pragma once

#include <filesystem>
#include <string>

#include "nibble/report/report.h"
#include "nibble/search/study.h"

namespace nibble::report {

// Choices of the tutorial's MNIST network: 21 parameters.
search::SearchSpace sample_space();

// Makes a study with so many trials: completed, some of the first ones failed, the last two running. Scores grow
// slowly, as in a search that learns. Returns its path.
std::string make_sample_study(const std::filesystem::path& directory, int trials);

// Layers as for a trial of it.
std::vector<LayerRow> sample_layers(const search::Trial& trial);

}  // namespace nibble::report
