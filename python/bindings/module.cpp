// The extension kvcache._native; python/kvcache/__init__.py is what people import.

#include <onnxruntime_cxx_api.h>

#include "bindings/bind.hpp"

NB_MODULE(_native, module) {
  using namespace kvcache::python;
  if (OrtGetApiBase()->GetApi(ORT_API_VERSION) == nullptr) {
    throw nb::import_error(
        "kvcache._native found no ONNX Runtime that is new enough; import kvcache, which loads "
        "that "
        "of the package onnxruntime first");
  }
  bind_errors(module);
  bind_info(module);
  bind_stats(module);
  bind_logits(module);
  bind_tree(module);
  bind_sequence(module);
  bind_model(module);
  bind_batch(module);
  bind_tokenizer(module);
  bind_chat_template(module);
  bind_constraint(module);
  bind_choices(module);
  bind_grammar(module);
  bind_sampler(module);
  bind_windowed_sequence(module);
  bind_speculation(module);
  bind_generated(module);
  bind_generate(module);
  bind_beam_search(module);
  bind_prefix_cache(module);
  bind_shared_model_inferencer(module);
  bind_policy(module);
  bind_requests(module);
  bind_answers(module);
  bind_metrics(module);
  bind_evaluator(module);
  module.def("set_leak_warnings", [](bool are_told) { nanobind::set_leak_warnings(are_told); });
  module.attr("version") = KVCACHE_VERSION;
  module.attr("onnxruntime_version") = Ort::GetVersionString();
}
