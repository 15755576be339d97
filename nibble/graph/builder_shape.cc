#include "nibble/graph/builder_shape.h"

#include "nibble/graph/builder_attributes.h"

namespace nibble::graph::build {

namespace {
LayerCall pooling(const char* class_name, const Pooling1DOptions& o) {
  return {class_name, o.name, {{"pool_size", o.pool_size}, {"strides", or_unset(o.strides)}, {"padding", o.padding}}};
}
}  // namespace

LayerCall MaxPooling1D(const Pooling1DOptions& options) { return pooling("MaxPooling1D", options); }
LayerCall AveragePooling1D(const Pooling1DOptions& options) { return pooling("AveragePooling1D", options); }

LayerCall GlobalAveragePooling1D(const GlobalPoolingOptions& o) {
  return {"GlobalAveragePooling1D", o.name, {{"keepdims", o.keepdims}}};
}
LayerCall GlobalMaxPooling1D(const GlobalPoolingOptions& o) {
  return {"GlobalMaxPooling1D", o.name, {{"keepdims", o.keepdims}}};
}
LayerCall GlobalMaxPooling2D(const GlobalPoolingOptions& o) {
  return {"GlobalMaxPooling2D", o.name, {{"keepdims", o.keepdims}}};
}

LayerCall Dot(const DotOptions& o) { return {"Dot", o.name, {{"axes", o.axes}, {"normalize", o.normalize}}}; }

LayerCall Reshape(const ReshapeOptions& o) { return {"Reshape", o.name, {{"target_shape", o.target_shape}}}; }

LayerCall Permute(const PermuteOptions& o) { return {"Permute", o.name, {{"dims", o.dims}}}; }

LayerCall ZeroPadding1D(const ZeroPadding1DOptions& o) { return {"ZeroPadding1D", o.name, {{"padding", o.padding}}}; }

LayerCall Cropping1D(const Cropping1DOptions& o) { return {"Cropping1D", o.name, {{"cropping", o.cropping}}}; }

LayerCall UpSampling1D(const UpSampling1DOptions& o) {
  return {"UpSampling1D", o.name, {{"size", static_cast<int64_t>(o.size)}}};
}

LayerCall ZeroPadding2D(const ZeroPadding2DOptions& o) { return {"ZeroPadding2D", o.name, {{"padding", o.padding}}}; }

LayerCall Cropping2D(const Cropping2DOptions& o) { return {"Cropping2D", o.name, {{"cropping", o.cropping}}}; }

LayerCall UpSampling2D(const UpSampling2DOptions& o) {
  return {"UpSampling2D", o.name, {{"size", o.size}, {"interpolation", o.interpolation}}};
}

LayerCall QAveragePooling2D(const QAveragePooling2DOptions& o) {
  return {"QAveragePooling2D",
          o.name,
          {{"pool_size", o.pool_size},
           {"strides", or_unset(o.strides)},
           {"padding", o.padding},
           {"average_quantizer", or_none(o.average_quantizer)},
           {"activation", or_none(o.activation)}}};
}

LayerCall QGlobalAveragePooling2D(const QGlobalAveragePooling2DOptions& o) {
  return {"QGlobalAveragePooling2D",
          o.name,
          {{"keepdims", o.keepdims},
           {"average_quantizer", or_none(o.average_quantizer)},
           {"activation", or_none(o.activation)}}};
}

LayerCall Subtract(const NameOptions& o) { return {"Subtract", o.name, {}}; }
LayerCall Average(const NameOptions& o) { return {"Average", o.name, {}}; }
LayerCall Maximum(const NameOptions& o) { return {"Maximum", o.name, {}}; }
LayerCall Minimum(const NameOptions& o) { return {"Minimum", o.name, {}}; }

}  // namespace nibble::graph::build
