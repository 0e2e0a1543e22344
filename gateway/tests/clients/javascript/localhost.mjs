// Resolves names below `localhost` to this machine, as RFC 6761 wants it and as some resolvers do not.
import dns from "node:dns";

const resolve = dns.lookup;
dns.lookup = (name, options, told) => resolve(name.endsWith(".localhost") ? "127.0.0.1" : name, options, told);
