// Messages of a chat as the text that a model was trained to go on from.

#include "kvcache/chat_template.hpp"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/errors.hpp"
#include "bindings/interpreter_lock.hpp"

namespace kvcache::python {
namespace {

/// The str of a message's field.
std::string message_text(nb::handle message, const char* field, std::size_t at) {
  const nb::object value = nb::steal(PyMapping_GetItemString(message.ptr(), field));
  if (!value.is_valid() && PyErr_ExceptionMatches(PyExc_KeyError) == 0) {
    throw nb::python_error();
  }
  PyErr_Clear();
  if (!value.is_valid() || PyUnicode_Check(value.ptr()) == 0) {
    const std::string is = value.is_valid() ? nb::type_name(value.type()).c_str() : "missing";
    throw nb::type_error(
        fmt::format("messages[{}][\"{}\"] must be a str, and is {}", at, field, is).c_str());
  }
  Py_ssize_t size = 0;
  const char* const text = PyUnicode_AsUTF8AndSize(value.ptr(), &size);
  if (text == nullptr) {  // it has surrogates
    throw nb::python_error();
  }
  return {text, static_cast<std::size_t>(size)};
}

/// What templates are given of a message: more would have no effect, and nobody would know.
std::vector<ChatMessage> to_messages(const nb::iterable& list) {
  std::vector<ChatMessage> messages;
  for (const nb::handle message : list) {
    const std::size_t at = messages.size();
    if (PyMapping_Check(message.ptr()) == 0 || PyUnicode_Check(message.ptr()) != 0) {
      throw nb::type_error(
          fmt::format("messages[{}] must be a mapping with \"role\" and \"content\", not {}", at,
                      nb::type_name(message.type()).c_str())
              .c_str());
    }
    messages.push_back({message_text(message, "role", at), message_text(message, "content", at)});
    if (nb::len(message) != 2) {
      throw nb::type_error(
          fmt::format("messages[{}] has more than \"role\" and \"content\"", at).c_str());
    }
  }
  return messages;
}

constexpr double kMostSeconds = 9.0e9;  // on either side of 1970: what a clock of nanoseconds has

/// A datetime's moment; one without a time zone is of the local one.
ChatOptions to_chat_options(bool add_generation_prompt, const nb::object& now) {
  ChatOptions options{.add_generation_prompt = add_generation_prompt, .now = {}};
  if (!now.is_none()) {
    if (!nb::hasattr(now, "timestamp")) {
      throw nb::type_error(fmt::format("now must be a datetime.datetime or None, not {}",
                                       nb::type_name(now.type()).c_str())
                               .c_str());
    }
    using Clock = std::chrono::system_clock;
    const std::chrono::duration<double> since(nb::cast<double>(now.attr("timestamp")()));
    if (std::abs(since.count()) > kMostSeconds) {
      throw_error(ErrorCode::invalid_argument, "now is {} seconds from 1970, must be at most {}",
                  since.count(), kMostSeconds);
    }
    options.now = Clock::time_point(std::chrono::duration_cast<Clock::duration>(since));
  }
  return options;
}

std::string render_chat(const ChatTemplate& chat, const nb::iterable& list,
                        bool add_generation_prompt, const nb::object& now) {
  const std::vector<ChatMessage> messages = to_messages(list);
  const ChatOptions options = to_chat_options(add_generation_prompt, now);
  const Unlocked released;
  return chat.render(messages, options);
}

std::vector<TokenId> encode_chat(const ChatTemplate& chat, const Tokenizer& tokenizer,
                                 const nb::iterable& list, bool add_generation_prompt,
                                 const nb::object& now) {
  const std::vector<ChatMessage> messages = to_messages(list);
  const ChatOptions options = to_chat_options(add_generation_prompt, now);
  const Unlocked released;
  return chat.encode(tokenizer, messages, options);
}

#define KVCACHE_PY_CHAT                                                        \
  "messages: collections.abc.Sequence[collections.abc.Mapping[str, str]], *, " \
  "add_generation_prompt: bool = True, now: datetime.datetime | None = None"

}  // namespace

void bind_chat_template(nb::module_& module) {
  using namespace nb::literals;
  nb::class_<ChatTemplate>(
      module, "ChatTemplate",
      "A model's chat template: texts are those that transformers renders of it with Jinja2. Any\n"
      "thread may use it.\n\n"
      "Source: include/kvcache/chat_template.hpp, docs/CHAT.md.")
      .def_static(
          "load",
          [](const std::filesystem::path& path) {
            const Unlocked released;
            return ChatTemplate::load(path);
          },
          "path"_a, nb::sig("def load(path: str | os.PathLike[str]) -> ChatTemplate"),
          "Reads the chat_template.json of a model directory, or such a file.\n\n"
          "Raises:\n    Error: model_not_found (there is none), chat_template_invalid,\n"
          "        chat_template_unsupported (it cannot be expressed, and why).")
      .def_static("from_json", &ChatTemplate::from_json, "text"_a, nb::call_guard<Unlocked>(),
                  "Reads the text of a chat_template.json.\n\n"
                  "Raises:\n    Error: chat_template_invalid, chat_template_unsupported.")
      .def("render", &render_chat, "messages"_a, nb::kw_only(), "add_generation_prompt"_a = true,
           "now"_a = nb::none(), nb::sig("def render(self, " KVCACHE_PY_CHAT ") -> str"),
           "The text of messages, each {\"role\": …, \"content\": …}. Whoever writes a special\n"
           "token into a message speaks for others once this text is encoded: encode() keeps\n"
           "messages apart from the template.\n\n"
           "Args:\n"
           "    add_generation_prompt: whether what begins the assistant's answer stands at the\n"
           "        end.\n"
           "    now: for templates that tell the date; None: the system's clock.\n\n"
           "Raises:\n    Error: empty_input (no message), invalid_argument (a role, an order of\n"
           "        roles or a content that the template does not take).\n"
           "    TypeError: a message is no mapping of these two, or one of them no str.")
      .def("encode", &encode_chat, "tokenizer"_a, "messages"_a, nb::kw_only(),
           "add_generation_prompt"_a = true, "now"_a = nb::none(),
           nb::sig("def encode(self, tokenizer: Tokenizer, " KVCACHE_PY_CHAT ") -> list[int]"),
           "The tokens of that text, by the tokenizer of the same model, without those that it\n"
           "puts around a text. Special tokens that messages hold are text like any other.\n\n"
           "Raises:\n    Error, TypeError: as render() and Tokenizer.encode.")
      .def_prop_ro("extends", &ChatTemplate::extends,
                   "Whether the text of a conversation begins with that of its beginning with the\n"
                   "generation prompt, so that a sequence that holds the one is only extended for\n"
                   "the other.")
      .def_prop_ro("roles", &ChatTemplate::roles, "Those that messages may have.");
}

}  // namespace kvcache::python
