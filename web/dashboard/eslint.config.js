import js from "@eslint/js";
import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["dist/", "node_modules/", "screenshots-out/"] },
  {
    files: ["src/**/*.{ts,tsx}", "test/**/*.ts", "e2e/**/*.ts", "build/**/*.ts", "*.config.ts"],
    extends: [js.configs.recommended, ...tseslint.configs.strictTypeChecked, ...tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // Numbers in messages are plain.
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/no-unused-expressions": ["error", { allowShortCircuit: true }],
      // "Tell and return" is one step.
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true, ignoreVoidReturningFunctions: true }],
      // A handler may be asynchronous: what fails in it is shown by the code that it calls.
      "@typescript-eslint/no-misused-promises": ["error", { checksVoidReturn: { attributes: false } }],
      // What an event holds is never markup.
      "no-restricted-syntax": [
        "error",
        { selector: "JSXAttribute[name.name='dangerouslySetInnerHTML']", message: "Events are shown as text." },
        { selector: "MemberExpression[property.name=/^(innerHTML|outerHTML|insertAdjacentHTML)$/]", message: "Events are shown as text." },
      ],
      "max-lines": ["error", 400],
      complexity: ["error", 26],
      // Reading a signal subscribes to it.
      "@typescript-eslint/no-meaningless-void-operator": "off",
    },
  },
  { files: ["test/**/*.ts", "e2e/**/*.ts"], rules: { "@typescript-eslint/no-non-null-assertion": "off" } },
);
