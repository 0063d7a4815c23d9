// The parts of the extension, in the order in which they are bound: a part names types of those
// before it.
#pragma once

#include <nanobind/nanobind.h>

namespace kvcache::python {

namespace nb = nanobind;

void bind_errors(nb::module_& module);
void bind_info(nb::module_& module);
void bind_stats(nb::module_& module);
void bind_logits(nb::module_& module);
void bind_tree(nb::module_& module);
void bind_sequence(nb::module_& module);
void bind_model(nb::module_& module);
void bind_batch(nb::module_& module);
void bind_tokenizer(nb::module_& module);
void bind_chat_template(nb::module_& module);
void bind_constraint(nb::module_& module);
void bind_choices(nb::module_& module);
void bind_grammar(nb::module_& module);
void bind_sampler(nb::module_& module);
void bind_windowed_sequence(nb::module_& module);
void bind_speculation(nb::module_& module);
void bind_generated(nb::module_& module);
void bind_generate(nb::module_& module);
void bind_beam_search(nb::module_& module);
void bind_prefix_cache(nb::module_& module);
void bind_shared_model_inferencer(nb::module_& module);
void bind_policy(nb::module_& module);
void bind_requests(nb::module_& module);
void bind_answers(nb::module_& module);
void bind_metrics(nb::module_& module);
void bind_evaluator(nb::module_& module);

}  // namespace kvcache::python
