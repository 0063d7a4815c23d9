#include "bindings/constraint_object.hpp"

#include <cstdint>
#include <string>
#include <string_view>

#include "bindings/errors.hpp"
#include "bindings/python_call.hpp"

namespace kvcache::python {
namespace {

std::unique_ptr<Constraint> fork_of(const nb::object& object);

/// One of Python's. Each call takes the interpreter's lock.
class PythonConstraint final : public Constraint {
 public:
  /// With the interpreter's lock.
  PythonConstraint(nb::object object, std::size_t vocab_size)
      : object_(hold(std::move(object))), vocab_size_(vocab_size) {}

  [[nodiscard]] std::size_t vocab_size() const noexcept override { return vocab_size_; }

  void allow_next(TokenMask& mask) const override {
    in_python([&] {
      const nb::object copy = nb::cast(mask);  // which Python may keep
      call("allow_next", copy);
      mask = nb::cast<const TokenMask&>(copy);
    });
  }

  [[nodiscard]] bool may_end() const override {
    return in_python([&] { return to_bool("may_end", call("may_end")); });
  }

  [[nodiscard]] bool accept(TokenId token) override {
    return in_python([&] { return to_bool("accept", call("accept", token)); });
  }

  void rollback(std::size_t tokens) override {
    in_python([&] { call("rollback", tokens); });
  }

  [[nodiscard]] std::unique_ptr<Constraint> fork() const override {
    return in_python([&] { return fork_of(*object_); });
  }

 private:
  template <typename... Args>
  nb::object call(const char* method, const Args&... args) const {
    return object_->attr(method)(args...);
  }

  /// What has no value was forgotten to be returned.
  [[nodiscard]] bool to_bool(const char* method, const nb::object& returned) const {
    const int truth = returned.is_none() ? -1 : PyObject_IsTrue(returned.ptr());
    if (truth >= 0) {
      return truth != 0;
    }
    if (!returned.is_none()) {
      throw nb::python_error();
    }
    throw nb::type_error(fmt::format("{}() of a constraint, {}, returned None, must be True or "
                                     "False",
                                     method, nb::type_name(object_->type()).c_str())
                             .c_str());
  }

  std::shared_ptr<nb::object> object_;
  std::size_t vocab_size_;
};

std::size_t vocab_size_of(nb::handle object) {
  const nb::object size = object.attr("vocab_size");
  if (std::uint64_t number = 0; nb::try_cast(size, number)) {
    return number;
  }
  throw nb::type_error(fmt::format("vocab_size of a constraint, {}, must be a whole number, not {}",
                                   nb::type_name(object.type()).c_str(),
                                   nb::type_name(size.type()).c_str())
                           .c_str());
}

/// Of an object with the methods of a constraint.
std::unique_ptr<Constraint> fork_of(const nb::object& object) {
  const nb::object forked = object.attr("fork")();
  if (forked.is(object)) {
    throw nb::type_error(fmt::format("fork() of a constraint, {}, returned the object itself, must "
                                     "be another one",
                                     nb::type_name(object.type()).c_str())
                             .c_str());
  }
  return std::make_unique<PythonConstraint>(forked, vocab_size_of(forked));
}

}  // namespace

std::unique_ptr<Constraint> to_constraint(nb::handle object) {
  if (object.is_none()) {
    return nullptr;
  }
  if (ConstraintObject* made = nullptr; nb::try_cast(object, made)) {
    return made->read([](const Constraint& constraint) { return constraint.fork(); });
  }
  for (const char* const method : {"allow_next", "may_end", "accept", "rollback", "fork"}) {
    if (!nb::hasattr(object, method)) {
      throw nb::type_error(fmt::format("constraint must be a kvcache.Constraint or None; {} has no "
                                       "{}()",
                                       nb::type_name(object.type()).c_str(), method)
                               .c_str());
    }
  }
  return fork_of(nb::borrow(object));
}

}  // namespace kvcache::python
