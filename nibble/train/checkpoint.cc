#include "nibble/train/checkpoint.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "nibble/core/atomic_file.h"
#include "nibble/core/cbor.h"
#include "nibble/core/error.h"

namespace nibble::train {
namespace {

using nlohmann::json;
constexpr int kVersion = 3;

json pack(const std::vector<std::vector<float>>& arrays) {
  json packed = json::array();
  for (const auto& values : arrays) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());  // null where there are none
    packed.push_back(json::binary({bytes, bytes + values.size() * sizeof(float)}));
  }
  return packed;
}

std::vector<std::vector<float>> unpack(const json& packed) {
  std::vector<std::vector<float>> arrays;
  for (const json& item : packed) {
    const auto& bytes = item.get_binary();
    if (bytes.size() % sizeof(float) != 0) throw CorruptFile("[checkpoint] an array is cut off.");
    std::vector<float> values(bytes.size() / sizeof(float));
    std::copy(bytes.begin(), bytes.end(), reinterpret_cast<uint8_t*>(values.data()));
    arrays.push_back(std::move(values));
  }
  return arrays;
}

json to_json(const EpochLog& log) {
  json out = {{"epoch", log.epoch},
              {"learning_rate", log.learning_rate},
              {"loss", log.loss},
              {"accuracy", log.accuracy},
              {"seconds", log.seconds}};
  if (!log.has_accuracy) out["has_accuracy"] = false;
  if (log.skips_validation) out["skips_validation"] = true;
  if (log.val_loss) out["val_loss"] = *log.val_loss;
  if (log.mse) out["mse"] = *log.mse;
  if (log.mae) out["mae"] = *log.mae;
  if (log.val_mse) out["val_mse"] = *log.val_mse;
  if (log.val_mae) out["val_mae"] = *log.val_mae;
  if (log.val_accuracy) out["val_accuracy"] = *log.val_accuracy;
  return out;
}

EpochLog epoch_log(const json& in) {
  EpochLog log{in.at("epoch"), in.at("learning_rate"), in.at("loss"),   in.at("accuracy"),
               std::nullopt,   std::nullopt,           in.at("seconds")};
  log.has_accuracy = in.value("has_accuracy", true);
  log.skips_validation = in.value("skips_validation", false);
  if (in.contains("val_loss")) log.val_loss = in.at("val_loss").get<double>();
  if (in.contains("mse")) log.mse = in.at("mse").get<double>();
  if (in.contains("mae")) log.mae = in.at("mae").get<double>();
  if (in.contains("val_mse")) log.val_mse = in.at("val_mse").get<double>();
  if (in.contains("val_mae")) log.val_mae = in.at("val_mae").get<double>();
  if (in.contains("val_accuracy")) log.val_accuracy = in.at("val_accuracy").get<double>();
  return log;
}

uint32_t checksum(const std::string& bytes) {
  return static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
}

}  // namespace

void save_checkpoint(const Checkpoint& checkpoint, const std::filesystem::path& path) {
  json content = {{"version", kVersion},
                  {"fingerprint", checkpoint.fingerprint},
                  {"epochs_done", checkpoint.epochs_done},
                  {"steps_done", checkpoint.steps_done},
                  {"epochs_asked", checkpoint.epochs_asked},
                  {"finished", checkpoint.finished},
                  {"weights", pack(checkpoint.weights)},
                  {"trained_weights", pack(checkpoint.trained_weights)},
                  {"optimizer_step", checkpoint.optimizer.step},
                  {"optimizer_slots", pack(checkpoint.optimizer.slots)},
                  {"callbacks", checkpoint.callbacks},
                  {"history", json::array()}};
  for (const EpochLog& log : checkpoint.history) content["history"].push_back(to_json(log));
  std::string bytes;
  json::to_cbor(content, nlohmann::detail::output_adapter<char>(bytes));
  const uint32_t sum = checksum(bytes);
  bytes.append(reinterpret_cast<const char*>(&sum), sizeof sum);
  write_file(path, bytes);
}

Checkpoint load_checkpoint(const std::filesystem::path& path, const std::string& fingerprint) {
  std::string bytes = read_file(path);
  uint32_t sum = 0;
  if (bytes.size() <= sizeof sum) throw CorruptFile("[checkpoint] {} has only {} bytes.", path.string(), bytes.size());
  std::memcpy(&sum, bytes.data() + bytes.size() - sizeof sum, sizeof sum);
  bytes.resize(bytes.size() - sizeof sum);
  if (checksum(bytes) != sum) {
    throw CorruptFile("[checkpoint] {} is damaged: its checksum does not match. Remove it to begin anew.",
                      path.string());
  }
  try {
    const json content = read_cbor(bytes);
    if (content.at("version") != kVersion) {
      throw InvalidArgument("[checkpoint] {} was written by another version of nibble. Remove it to begin anew.",
                            path.string());
    }
    Checkpoint result;
    result.fingerprint = content.at("fingerprint");
    if (result.fingerprint != fingerprint) {
      throw InvalidArgument(
          "[checkpoint] {} belongs to another model or other training options. Use the same ones, or remove it to "
          "begin anew.",
          path.string());
    }
    result.epochs_done = content.at("epochs_done");
    result.steps_done = content.at("steps_done");
    result.epochs_asked = content.at("epochs_asked");
    result.finished = content.at("finished");
    result.weights = unpack(content.at("weights"));
    result.trained_weights = unpack(content.at("trained_weights"));
    result.optimizer = {content.at("optimizer_step"), unpack(content.at("optimizer_slots"))};
    result.callbacks = content.at("callbacks");
    for (const json& log : content.at("history")) result.history.push_back(epoch_log(log));
    return result;
  } catch (const json::exception& error) {
    throw CorruptFile("[checkpoint] {} is not a checkpoint: {}.", path.string(), error.what());
  } catch (const CorruptFile& error) {
    throw CorruptFile("[checkpoint] {} is not a checkpoint: {}.", path.string(), error.what());
  }
}

}  // namespace nibble::train
