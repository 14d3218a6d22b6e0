"""Who computes Ed25519 (RFC 8032)? The OpenSSL that Python itself has loaded; where that can't be reached, the
cryptography package, whose own copy of OpenSSL would cost an idle daemon 7 MiB.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any, Final

_NID_ED25519: Final = 1087  # openssl/obj_mac.h
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64


def public_key(seed: bytes) -> bytes:
    if (openssl := _openssl()) is None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    key = _held(openssl.EVP_PKEY_new_raw_private_key(_NID_ED25519, None, seed, len(seed)))
    try:
        made, size = ctypes.create_string_buffer(_KEY_BYTES), ctypes.c_size_t(_KEY_BYTES)
        _done(openssl.EVP_PKEY_get_raw_public_key(key, made, ctypes.byref(size)))
        return made.raw
    finally:
        openssl.EVP_PKEY_free(key)


def sign(seed: bytes, message: bytes) -> bytes:
    if (openssl := _openssl()) is None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(seed).sign(message)
    key = _held(openssl.EVP_PKEY_new_raw_private_key(_NID_ED25519, None, seed, len(seed)))
    context = _held(openssl.EVP_MD_CTX_new())
    try:
        made, size = ctypes.create_string_buffer(_SIGNATURE_BYTES), ctypes.c_size_t(_SIGNATURE_BYTES)
        _done(openssl.EVP_DigestSignInit(context, None, None, None, key))
        _done(openssl.EVP_DigestSign(context, made, ctypes.byref(size), message, len(message)))
        return made.raw
    finally:
        openssl.EVP_MD_CTX_free(context)
        openssl.EVP_PKEY_free(key)


def verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `signature` is of this message by this key."""
    if len(public) != _KEY_BYTES or len(signature) != _SIGNATURE_BYTES:
        return False
    if (openssl := _openssl()) is None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True
    key = _held(openssl.EVP_PKEY_new_raw_public_key(_NID_ED25519, None, public, len(public)))
    context = _held(openssl.EVP_MD_CTX_new())
    try:
        _done(openssl.EVP_DigestVerifyInit(context, None, None, None, key))
        return bool(openssl.EVP_DigestVerify(context, signature, len(signature), message, len(message)) == 1)
    finally:
        openssl.EVP_MD_CTX_free(context)
        openssl.EVP_PKEY_free(key)
        openssl.ERR_clear_error()


def _held(pointer: int | None) -> int:
    if not pointer:
        raise ValueError("OpenSSL takes this for no Ed25519 key")
    return pointer


def _done(result: int) -> None:
    if result != 1:
        raise ValueError(f"OpenSSL failed at Ed25519 ({result})")


@cache
def _openssl() -> Any:
    """Its functions, by the module that brought it; None where they are not there (a Python with OpenSSL inside)."""
    try:
        import _hashlib

        library = ctypes.CDLL(_hashlib.__file__)
        pointer, size, octets, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_int
        sized = ctypes.POINTER(ctypes.c_size_t)
        for name, result, arguments in (
            ("EVP_PKEY_new_raw_private_key", pointer, (number, pointer, octets, size)),
            ("EVP_PKEY_new_raw_public_key", pointer, (number, pointer, octets, size)),
            ("EVP_PKEY_get_raw_public_key", number, (pointer, octets, sized)),
            ("EVP_PKEY_free", None, (pointer,)),
            ("EVP_MD_CTX_new", pointer, ()),
            ("EVP_MD_CTX_free", None, (pointer,)),
            ("EVP_DigestSignInit", number, (pointer, pointer, pointer, pointer, pointer)),
            ("EVP_DigestSign", number, (pointer, octets, sized, octets, size)),
            ("EVP_DigestVerifyInit", number, (pointer, pointer, pointer, pointer, pointer)),
            ("EVP_DigestVerify", number, (pointer, octets, size, octets, size)),
            ("ERR_clear_error", None, ()),
        ):
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (ImportError, AttributeError, OSError):
        return None
    return library
