#include "bindings/drafter_object.hpp"

#include "bindings/errors.hpp"
#include "bindings/python_call.hpp"
#include "bindings/tokens.hpp"

namespace kvcache::python {
namespace {

/// One of Python's. Each call takes the interpreter's lock.
class PythonDrafter final : public Drafter {
 public:
  explicit PythonDrafter(const nb::object& object) : object_(hold(object)) {}

  [[nodiscard]] TokenTree draft(std::span<const TokenId> text, std::size_t most) override {
    return in_python([&] {
      const nb::object drafted = object_->attr("draft")(to_array(text), most);
      if (nb::tuple tree; nb::try_cast(drafted, tree) && nb::len(tree) == 2) {
        return to_tree(tree[0], tree[1]);
      }
      throw nb::type_error(fmt::format("draft() of a drafter, {}, returned {}, must be a tuple of "
                                       "tokens and parents",
                                       nb::type_name(object_->type()).c_str(),
                                       nb::type_name(drafted.type()).c_str())
                               .c_str());
    });
  }

 private:
  std::shared_ptr<nb::object> object_;
};

}  // namespace

BorrowedDrafter to_drafter(const nb::object& object) {
  if (DrafterObject* made = nullptr; nb::try_cast(object, made)) {
    return {made->drafter, made->use};
  }
  if (!nb::hasattr(object, "draft")) {
    throw nb::type_error(fmt::format("drafter must be a kvcache.Drafter or None; {} has no draft()",
                                     nb::type_name(object.type()).c_str())
                             .c_str());
  }
  return {std::make_shared<PythonDrafter>(object), nullptr};
}

}  // namespace kvcache::python
