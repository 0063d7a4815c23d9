// Several sequences extended, or trees evaluated, in one run.

#include "kvcache/batch.hpp"

#include <nanobind/stl/vector.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/interpreter_lock.hpp"
#include "bindings/logits_for.hpp"
#include "bindings/sequence_object.hpp"
#include "bindings/tokens.hpp"
#include "bindings/tree_object.hpp"
#include "bindings/tuples.hpp"

namespace kvcache::python {
namespace {

const SequenceObject& to_sequence(nb::handle object) {
  if (const SequenceObject* sequence = nullptr; nb::try_cast(object, sequence) && sequence) {
    return *sequence;
  }
  throw nb::type_error("an element of the batch must begin with a Sequence");
}

std::vector<Logits> extend_batch(const nb::iterable& batch) {
  std::vector<nb::object> kept;  // sequences live while the interpreter's lock is not held
  std::vector<const SequenceObject*> objects;
  std::vector<std::vector<TokenId>> tokens;
  std::vector<LogitsFor> which;
  for (const nb::handle element : batch) {
    const nb::tuple parts =
        to_tuple(element, "(sequence, tokens) or (sequence, tokens, logits_for)", 2, 3);
    kept.emplace_back(parts[0]);
    objects.push_back(&to_sequence(parts[0]));
    tokens.push_back(to_tokens(parts[1]));
    which.push_back(nb::len(parts) == 3 ? to_logits_for(nb::cast<std::string_view>(parts[2]))
                                        : LogitsFor::last);
  }
  // One that occurs twice is the library's to refuse.
  std::vector<const SequenceObject*> once = objects;
  std::ranges::sort(once, std::less<>());
  once.erase(std::unique(once.begin(), once.end()), once.end());
  std::vector<std::unique_ptr<Changing>> changing;
  changing.reserve(once.size());
  for (const SequenceObject* const object : once) {
    changing.push_back(std::make_unique<Changing>(*object->use(), "sequence"));
  }
  std::vector<Extension> extensions;
  for (std::size_t i = 0; i < objects.size(); ++i) {
    extensions.push_back({objects[i]->get().get(), tokens[i], which[i]});
  }
  const Unlocked released;
  return kvcache::extend(extensions);
}

std::vector<TreeObject> evaluate_batch(const nb::iterable& batch) {
  std::vector<nb::object> kept;
  std::vector<const SequenceObject*> objects;
  std::vector<TokenTree> trees;
  std::vector<std::vector<std::size_t>> nodes;
  for (const nb::handle element : batch) {
    const nb::tuple parts =
        to_tuple(element, "(prefix, tokens, parents) or (prefix, tokens, parents, nodes)", 3, 4);
    kept.emplace_back(parts[0]);
    objects.push_back(&to_sequence(parts[0]));
    trees.push_back(to_tree(parts[1], parts[2]));
    nodes.push_back(nb::len(parts) == 4 ? to_nodes(parts[3]) : std::vector<std::size_t>());
  }
  std::vector<std::unique_ptr<Reading>> reading;
  std::vector<TreeOfPrefix> questions;
  for (std::size_t i = 0; i < objects.size(); ++i) {
    reading.push_back(std::make_unique<Reading>(*objects[i]->use(), "sequence"));
    questions.push_back({objects[i]->get().get(), &trees[i], nodes[i]});
  }
  const Unlocked released;
  std::vector<TreeObject> evaluated;
  for (TreeEvaluation& tree : kvcache::evaluate(questions)) {
    evaluated.emplace_back(std::move(tree));
  }
  return evaluated;
}

}  // namespace

void bind_batch(nb::module_& module) {
  module.def(
      "extend", &extend_batch, nb::arg("batch"),
      nb::sig("def extend(batch: collections.abc.Iterable[tuple[Sequence, " KVCACHE_PY_TOKENS
              "] | tuple[Sequence, " KVCACHE_PY_TOKENS
              ", typing.Literal['last', 'all']]]) -> list[Logits]"),
      "Extends all sequences in one run. Sequences may have any lengths, take any numbers of\n"
      "tokens, and share blocks. Element i of the result holds the logits of batch[i].\n\n"
      "Args:\n    batch: (sequence, tokens) or (sequence, tokens, logits_for), as "
      "Sequence.extend.\n\n"
      "Raises:\n    Error: as Sequence.extend; invalid_argument when a sequence occurs twice or is "
      "of\n"
      "        another model than the first. All sequences are then as they were.\n\n"
      "Source: include/kvcache/batch.hpp, docs/BATCH.md.");
  module.def(
      "evaluate", &evaluate_batch, nb::arg("batch"),
      nb::sig("def evaluate(batch: collections.abc.Iterable[tuple[Sequence, " KVCACHE_PY_TOKENS
              ", " KVCACHE_PY_TOKENS "] | tuple[Sequence, " KVCACHE_PY_TOKENS ", " KVCACHE_PY_TOKENS
              ", " KVCACHE_PY_TOKENS "]]) -> list[TreeEvaluation]"),
      "Evaluates all trees in one run. Prefixes may be the same sequence or share blocks, and\n"
      "stay as they are. Element i of the result is of batch[i].\n\n"
      "Args:\n    batch: (prefix, tokens, parents) or (prefix, tokens, parents, nodes), as\n"
      "        Sequence.evaluate.\n\n"
      "Raises:\n    Error: as Sequence.evaluate; invalid_argument when the prefixes are of "
      "different\n"
      "        models.\n\n"
      "Source: include/kvcache/tree.hpp, docs/TREE.md.");
}

}  // namespace kvcache::python
