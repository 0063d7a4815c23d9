#include "bindings/tokens.hpp"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

#include "bindings/errors.hpp"

namespace kvcache::python {
namespace {

std::string type_of(nb::handle object) { return nb::type_name(object.type()).c_str(); }

[[noreturn]] void refuse(nb::handle object, std::string_view what) {
  throw nb::type_error(
      fmt::format("{} must be a sequence of whole numbers or an array of them with "
                  "one axis, not {}",
                  what, type_of(object))
          .c_str());
}

/// One number of a sequence.
TokenId to_number(PyObject* item, std::string_view what, std::size_t at) {
  int overflow = 0;
  long long number = -1;
  if (PyLong_CheckExact(item)) {
    number = PyLong_AsLongLongAndOverflow(item, &overflow);
  } else {
    const bool whole = PyIndex_Check(item) != 0 && !PyBool_Check(item);
    const nb::object index = nb::steal(whole ? PyNumber_Index(item) : nullptr);
    if (!index.is_valid()) {
      PyErr_Clear();
      throw nb::type_error(
          fmt::format("{}[{}] must be a whole number, not {}", what, at, type_of(nb::handle(item)))
              .c_str());
    }
    number = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
  }
  if (overflow != 0) {
    throw_error(ErrorCode::token_out_of_range,
                "{}[{}] is a number of more than 64 bits; tokens are in [0, vocab_size)", what, at);
  }
  return number;
}

/// Which another thread may take out meanwhile.
/// @throws nb::python_error where the list became shorter
nb::object list_item(nb::handle list, Py_ssize_t i) {
#ifdef Py_GIL_DISABLED
  nb::object item = nb::steal(PyList_GetItemRef(list.ptr(), i));
#else
  nb::object item = nb::borrow(PyList_GetItem(list.ptr(), i));
#endif
  if (!item.is_valid()) {
    throw nb::python_error();
  }
  return item;
}

std::vector<TokenId> from_sequence(nb::handle object, std::string_view what) {
  std::vector<TokenId> numbers;
  if (PyList_CheckExact(object.ptr())) {
    // An item's __index__ may change the list meanwhile.
    for (Py_ssize_t i = 0; i < PyList_Size(object.ptr()); ++i) {
      const nb::object item = list_item(object, i);
      numbers.push_back(to_number(item.ptr(), what, static_cast<std::size_t>(i)));
    }
    return numbers;
  }
  const nb::object list = nb::steal(PySequence_List(object.ptr()));
  if (!list.is_valid()) {
    throw nb::python_error();
  }
  return from_sequence(list, what);
}

template <typename Element>
void append(const nb::ndarray<nb::ro>& array, std::string_view what,
            std::vector<TokenId>& numbers) {
  const auto* const data = static_cast<const Element*>(array.data());
  const std::int64_t stride = array.stride(0);
  for (std::size_t i = 0; i < array.shape(0); ++i) {
    const Element number = data[static_cast<std::int64_t>(i) * stride];
    if (!std::in_range<TokenId>(number)) {
      throw_error(ErrorCode::token_out_of_range,
                  "{}[{}] is {}, a number of more than 63 bits; tokens are in [0, vocab_size)",
                  what, i, number);
    }
    numbers.push_back(static_cast<TokenId>(number));
  }
}

std::vector<TokenId> from_array(const nb::ndarray<nb::ro>& array, std::string_view what) {
  using Code = nb::dlpack::dtype_code;
  const nb::dlpack::dtype type = array.dtype();
  const auto code = static_cast<Code>(type.code);
  if (array.ndim() != 1 || type.lanes != 1 || (code != Code::Int && code != Code::UInt) ||
      array.device_type() != nb::device::cpu::value) {
    throw nb::type_error(
        fmt::format("{} must be an array of whole numbers with one axis in the host's memory, not "
                    "one with {} axes and elements of kind {} with {} bits",
                    what, array.ndim(),
                    code == Code::Float  ? "float"
                    : code == Code::Bool ? "bool"
                    : code == Code::Int  ? "int"
                    : code == Code::UInt ? "uint"
                                         : "other",
                    type.bits)
            .c_str());
  }
  std::vector<TokenId> numbers;
  numbers.reserve(array.shape(0));
  const bool is_signed = code == Code::Int;
  switch (type.bits) {
    case 8:
      is_signed ? append<std::int8_t>(array, what, numbers)
                : append<std::uint8_t>(array, what, numbers);
      break;
    case 16:
      is_signed ? append<std::int16_t>(array, what, numbers)
                : append<std::uint16_t>(array, what, numbers);
      break;
    case 32:
      is_signed ? append<std::int32_t>(array, what, numbers)
                : append<std::uint32_t>(array, what, numbers);
      break;
    default:
      is_signed ? append<std::int64_t>(array, what, numbers)
                : append<std::uint64_t>(array, what, numbers);
  }
  return numbers;
}

}  // namespace

std::vector<TokenId> to_tokens(nb::handle object, std::string_view what) {
  PyObject* const it = object.ptr();
  if (PyList_Check(it) || PyTuple_Check(it)) {
    return from_sequence(object, what);
  }
  if (PyUnicode_Check(it) || PyBytes_Check(it) || PyByteArray_Check(it)) {
    refuse(object, what);
  }
  if (nb::ndarray<nb::ro> array; nb::try_cast(object, array)) {
    return from_array(array, what);
  }
  if (!PySequence_Check(it)) {
    refuse(object, what);
  }
  return from_sequence(object, what);
}

std::vector<std::int32_t> to_parents(nb::handle object) {
  std::vector<std::int32_t> parents;
  for (const TokenId number : to_tokens(object, "parents")) {
    if (!std::in_range<std::int32_t>(number)) {
      throw_error(ErrorCode::invalid_argument,
                  "parents[{}] is {}, must be an earlier node, or -1 for the prefix",
                  parents.size(), number);
    }
    parents.push_back(static_cast<std::int32_t>(number));
  }
  return parents;
}

std::vector<std::size_t> to_nodes(nb::handle object) {
  std::vector<std::size_t> nodes;
  for (const TokenId number : to_tokens(object, "nodes")) {
    if (number < -1) {
      throw_error(ErrorCode::invalid_argument,
                  "nodes[{}] is {}, must be a node of the tree, or -1 for the prefix", nodes.size(),
                  number);
    }
    nodes.push_back(number == -1 ? TokenTree::kPrefix : static_cast<std::size_t>(number));
  }
  return nodes;
}

TokenTree to_tree(nb::handle tokens, nb::handle parents) {
  return {to_tokens(tokens), to_parents(parents)};
}

std::vector<std::vector<TokenId>> to_token_lists(nb::handle object, std::string_view what) {
  const nb::object list =
      nb::steal(PySequence_Check(object.ptr()) ? PySequence_List(object.ptr()) : nullptr);
  if (!list.is_valid()) {
    PyErr_Clear();
    throw nb::type_error(
        fmt::format("{} must be a sequence of token lists, not {}", what, type_of(object)).c_str());
  }
  std::vector<std::vector<TokenId>> lists;
  for (const nb::handle item : list) {
    lists.push_back(to_tokens(item, fmt::format("{}[{}]", what, lists.size())));
  }
  return lists;
}

TokenArray to_array(std::span<const TokenId> tokens) {
  auto copy = std::make_unique<TokenId[]>(std::max<std::size_t>(tokens.size(), 1));
  std::ranges::copy(tokens, copy.get());
  TokenId* const data = copy.get();
  const nb::capsule owner(copy.release(),
                          [](void* array) noexcept { delete[] static_cast<TokenId*>(array); });
  return TokenArray(data, {tokens.size()}, owner);
}

}  // namespace kvcache::python
