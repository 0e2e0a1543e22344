"""Resolves names below `localhost` to this machine, as RFC 6761 wants it and as some resolvers do not.

A Python client imports this file by itself when its folder is in PYTHONPATH.
"""
import socket

resolve = socket.getaddrinfo


def resolve_localhost(host, *arguments, **options):
    name = host.decode() if isinstance(host, bytes) else host
    return resolve("127.0.0.1" if name and name.endswith(".localhost") else host, *arguments, **options)


socket.getaddrinfo = resolve_localhost
