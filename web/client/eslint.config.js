import js from "@eslint/js";
import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["dist/", "node_modules/", "examples/**/built/"] },
  {
    files: ["src/**/*.ts", "test/**/*.ts", "examples/node/**/*.ts"],
    extends: [js.configs.recommended, ...tseslint.configs.strictTypeChecked, ...tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // Numbers in messages are plain.
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/no-unused-expressions": ["error", { allowShortCircuit: true }],
      // "Tell and return" is one step.
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true, ignoreVoidReturningFunctions: true }],
      "max-lines": ["error", 400],
      complexity: ["error", 16],
    },
  },
  { files: ["src/protocol.ts"], rules: { "max-lines": "off" } },
  {
    files: ["test/**/*.ts"],
    rules: {
      // Helpers of tests are tests: what they assume fails loudly.
      "@typescript-eslint/no-non-null-assertion": "off",
    },
  },
);
