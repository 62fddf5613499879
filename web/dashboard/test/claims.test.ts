import { describe, expect, test } from "vitest";
import { may, readClaims } from "../src/api/claims.js";

const token = (claims: unknown): string => `h.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.s`;

function claimsOf(claims: object) {
  const found = readClaims(token({ sub: "u", ...claims }));
  if (!found) throw new Error("no claims");
  return found;
}

describe("claims", () => {
  test("are read, with names in any script", () => {
    expect(claimsOf({ username: "李雷", role: "viewer", exp: 5, permissions: ["a", 7] })).toEqual({
      userId: "u", username: "李雷", role: "viewer", projectId: null, permissions: ["a"], expiresAt: 5000,
    });
  });

  test.each(["", "a.b", "a.b.c.d", "a.%%%.c", token(7), token(null), token({}), "a b.c.d"])("%s is no token", (text) => {
    expect(readClaims(text)).toBe(null);
  });

  test("what a role may, and what a permission adds", () => {
    expect(may(claimsOf({ role: "viewer" }), "session:control")).toBe(false);
    expect(may(claimsOf({ role: "evaluator" }), "session:control")).toBe(true);
    expect(may(claimsOf({ role: "admin" }), "session:review")).toBe(false);
    expect(may(claimsOf({ role: "viewer", permissions: ["session:review"] }), "session:review")).toBe(true);
    expect(may(claimsOf({ permissions: ["*"] }), "connection:list")).toBe(true);
    expect(may(claimsOf({ permissions: ["run:automated_tests"] }), "session:control")).toBe(true);
    expect(may(claimsOf({ role: "constructor" }), "session:read")).toBe(false);
  });

  test("a project holds, unless all are open", () => {
    expect(may(claimsOf({ role: "evaluator", projectId: "a" }), "session:control", "b")).toBe(false);
    expect(may(claimsOf({ role: "evaluator", projectId: "a" }), "session:control", "a")).toBe(true);
    expect(may(claimsOf({ role: "admin", projectId: "a" }), "session:control", "b")).toBe(true);
  });
});
