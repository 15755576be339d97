// nibble/graph/builder_shape.h
// Pools, merges, and layers that move numbers around; see builder.h.
#pragma once

#include "nibble/graph/builder.h"

namespace nibble::graph::build {

struct Pooling1DOptions {
  int64_t pool_size = 2;
  std::optional<int64_t> strides = {};  // nothing: pool_size
  std::string padding = "valid";
  std::string name = "";
};
LayerCall MaxPooling1D(const Pooling1DOptions& options = {});
LayerCall AveragePooling1D(const Pooling1DOptions& options = {});

LayerCall GlobalAveragePooling1D(const GlobalPoolingOptions& options = {});
LayerCall GlobalMaxPooling1D(const GlobalPoolingOptions& options = {});
LayerCall GlobalMaxPooling2D(const GlobalPoolingOptions& options = {});

struct DotOptions {
  std::vector<int64_t> axes = {};
  bool normalize = false;
  std::string name = "";
};
LayerCall Dot(const DotOptions& options);

struct ReshapeOptions {
  std::vector<int64_t> target_shape = {};
  std::string name = "";
};
LayerCall Reshape(const ReshapeOptions& options);

struct PermuteOptions {
  std::vector<int64_t> dims = {};
  std::string name = "";
};
LayerCall Permute(const PermuteOptions& options);

struct ZeroPadding1DOptions {
  std::vector<int64_t> padding = {1, 1};
  std::string name = "";
};
LayerCall ZeroPadding1D(const ZeroPadding1DOptions& options);

struct Cropping1DOptions {
  std::vector<int64_t> cropping = {1, 1};
  std::string name = "";
};
LayerCall Cropping1D(const Cropping1DOptions& options);

struct UpSampling1DOptions {
  int size = 2;
  std::string name = "";
};
LayerCall UpSampling1D(const UpSampling1DOptions& options);

struct ZeroPadding2DOptions {
  std::vector<int64_t> padding = {1, 1, 1, 1};
  std::string name = "";
};
LayerCall ZeroPadding2D(const ZeroPadding2DOptions& options);

struct Cropping2DOptions {
  std::vector<int64_t> cropping = {0, 0, 0, 0};
  std::string name = "";
};
LayerCall Cropping2D(const Cropping2DOptions& options);

struct UpSampling2DOptions {
  std::vector<int64_t> size = {2, 2};
  std::string interpolation = "nearest";
  std::string name = "";
};
LayerCall UpSampling2D(const UpSampling2DOptions& options);

struct QAveragePooling2DOptions {
  std::vector<int64_t> pool_size = {2, 2};
  std::vector<int64_t> strides = {};
  std::string padding = "valid";
  std::string average_quantizer = "";
  std::string activation = "linear";
  std::string name = "";
};
LayerCall QAveragePooling2D(const QAveragePooling2DOptions& options);

struct QGlobalAveragePooling2DOptions {
  bool keepdims = false;
  std::string average_quantizer = "";
  std::string activation = "linear";
  std::string name = "";
};
LayerCall QGlobalAveragePooling2D(const QGlobalAveragePooling2DOptions& options);

LayerCall Subtract(const NameOptions& options = {});
LayerCall Average(const NameOptions& options = {});
LayerCall Maximum(const NameOptions& options = {});
LayerCall Minimum(const NameOptions& options = {});

}  // namespace nibble::graph::build
