// Drafters of the library's in Python, and of Python's in the library.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <utility>

#include "bindings/use.hpp"
#include "kvcache/speculation.hpp"

namespace kvcache::python {

namespace nb = nanobind;

/// One of the library's and who uses it, both shared with generations that have not ended yet.
struct DrafterObject {
  explicit DrafterObject(std::shared_ptr<Drafter> made) : drafter(std::move(made)) {}

  std::shared_ptr<Drafter> drafter;
  std::shared_ptr<Use> use = std::make_shared<Use>();
};
struct PromptLookupObject final : DrafterObject {
  using DrafterObject::DrafterObject;
};
struct DraftModelObject final : DrafterObject {
  using DrafterObject::DrafterObject;
};

/// A drafter, and the use that a generation makes of it: null where it is Python's own.
struct BorrowedDrafter {
  std::shared_ptr<Drafter> drafter;
  std::shared_ptr<Use> use;
};

/// The drafter that `object` is, or one that calls its draft().
/// @throws nb::type_error where it is neither
BorrowedDrafter to_drafter(const nb::object& object);

}  // namespace kvcache::python
