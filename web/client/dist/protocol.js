// Made from docs/protocol.schema.json by scripts/generate-types.mjs: change it there.
export {};
//# sourceMappingURL=protocol.js.map