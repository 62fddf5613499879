export {};
//# sourceMappingURL=outputs.js.map