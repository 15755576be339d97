#include "nibble/cli/qnoise_options.h"

#include "nibble/cli/choices.h"
#include "nibble/cli/limits.h"

namespace nibble::cli {

void add_qnoise_options(CLI::App& app, QNoiseOptions& o) {
  CLI::Option* start = app.add_option("--qnoise-start", o.start,
                                      "Quantization comes in gradually: nothing is quantized before this epoch, "
                                      "counted from 0, or step")
                           ->check(between(0, 1000000000))
                           ->type_name("EPOCH");
  CLI::Option* finish = app.add_option("--qnoise-finish", o.finish, "All is quantized from this epoch or step on")
                            ->check(between(0, 1000000000))
                            ->needs(start)
                            ->type_name("EPOCH");
  start->needs(finish);
  app.add_option("--qnoise-freq-type", o.freq_type, "What start and finish count: epoch or step")
      ->needs(start)
      ->capture_default_str();
  app.add_option("--qnoise-update-freq", o.update_freq, "Change the share that is quantized every so many of them")
      ->check(between(1, 1000000000))
      ->needs(start)
      ->capture_default_str();
  app.add_option("--qnoise-initial", o.initial, "The number of the first epoch or step")
      ->check(between(0, 1000000000))
      ->needs(start)
      ->capture_default_str();
  app.add_option("--qnoise-exponent", o.exponent,
                 "The share is 1 - ((finish - t) / (finish - start)) ^ exponent at epoch or step t")
      ->check(positive())
      ->needs(start)
      ->capture_default_str();
  app.add_flag("--qnoise-without-ste", o.without_ste,
               "Gradients shrink as the share grows, instead of passing straight through")
      ->needs(start);
}

std::unique_ptr<train::Callback> qnoise_callback(const QNoiseOptions& o) {
  if (o.start < 0) return nullptr;
  if (o.start > o.finish) {
    throw UsageError("--qnoise-start {} is after --qnoise-finish {}; the ramp must not end before it begins.", o.start,
                     o.finish);
  }
  const auto freq_type = choose<train::QNoiseFrequency>(
      "--qnoise-freq-type", o.freq_type,
      {{"epoch", train::QNoiseFrequency::kEpoch}, {"step", train::QNoiseFrequency::kStep}});
  return train::qnoise_scheduler({.start = o.start,
                                  .finish = o.finish,
                                  .freq_type = freq_type,
                                  .update_freq = o.update_freq,
                                  .initial_step_or_epoch = o.initial,
                                  .exponent = o.exponent,
                                  .use_ste = !o.without_ste});
}

}  // namespace nibble::cli
