"""The error tree of the project. Every message says what to do.

```
Stream2LLMError
├── EngineConfigError         the configuration or the model cannot be used
├── InvalidRequestError       an argument of this call is wrong (also a ValueError)
│   └── PromptTooLongError    the prompt can never fit (model length or KV pool)
├── SessionClosedError        the session was finalized, aborted or failed before this call
├── SessionLimitError         an admission limit was reached
├── SessionTimeoutError       an idle time-out passed
│   └── DeadlineExceededError a deadline passed, waiting for a place or for the answer
├── EngineDeadError           the engine stopped; its sessions are lost
├── UnsupportedFeatureError   valid for vLLM, not available on a stream
└── ProfileError              a hardware profile is missing or malformed
```
"""

__all__ = [
    "DeadlineExceededError",
    "EngineConfigError",
    "EngineDeadError",
    "InvalidRequestError",
    "ProfileError",
    "PromptTooLongError",
    "SessionClosedError",
    "SessionLimitError",
    "SessionTimeoutError",
    "Stream2LLMError",
    "UnsupportedFeatureError",
]


class Stream2LLMError(Exception):
    """Base of every error this project raises on purpose."""


class EngineConfigError(Stream2LLMError):
    """The engine cannot be built from this configuration."""


class InvalidRequestError(Stream2LLMError, ValueError):
    """An argument of the call is wrong; nothing was changed."""


class PromptTooLongError(InvalidRequestError):
    """The prompt can never fit the model length or the KV pool; nothing was changed."""


class SessionClosedError(Stream2LLMError):
    """The session takes no more operations."""


class SessionLimitError(Stream2LLMError):
    """An admission limit was reached, nothing was changed; retry when other sessions have ended."""


class SessionTimeoutError(Stream2LLMError, TimeoutError):
    """A deadline or an idle time-out passed; the session was aborted."""


class DeadlineExceededError(SessionTimeoutError):
    """The answer was not complete, or not even begun, within the deadline of the session."""


class EngineDeadError(Stream2LLMError):
    """The engine stopped. Start a new one; its sessions are lost."""


class UnsupportedFeatureError(Stream2LLMError):
    """The feature is not available on streaming sessions."""


class ProfileError(Stream2LLMError):
    """A hardware cost profile is missing or malformed."""
