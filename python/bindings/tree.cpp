// Many continuations of one prefix, evaluated together.

#include "kvcache/tree.hpp"

#include "bindings/bind.hpp"
#include "bindings/tree_object.hpp"

namespace kvcache::python {

void bind_tree(nb::module_& module) {
  nb::class_<TreeObject>(
      module, "TreeEvaluation",
      "The logits of a tree's nodes, and their keys and values, which Sequence.commit() can\n"
      "keep. They take cache blocks as long as this object lives; close() gives them back.\n\n"
      "Source: include/kvcache/tree.hpp, docs/TREE.md.")
      .def_prop_ro(
          "logits", [](const TreeObject& tree) { return tree.share()->logits(); },
          "Row i follows node i, or the i-th of the nodes that were chosen,\n"
          "[rows, vocab_size]. Its memory is not given back by close().")
      .def("close", &TreeObject::close,
           "Gives the tree's cache blocks back now: it can no longer be committed.")
      .def(
          "__enter__", [](const nb::object& self) { return self; },
          nb::sig("def __enter__(self) -> typing.Self"))
      .def(
          "__exit__", [](TreeObject& tree, const nb::args&) { tree.close(); },
          nb::sig("def __exit__(self, *exception: object) -> None"))
      .def("__repr__", [](const TreeObject& tree) {
        try {
          return fmt::format("TreeEvaluation(rows={})", tree.share()->logits().rows());
        } catch (const Error&) {
          return std::string("TreeEvaluation(closed)");
        }
      });
}

}  // namespace kvcache::python
