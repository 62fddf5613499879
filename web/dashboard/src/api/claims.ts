/**
 * Who one is, by the token's claims. The page only reads them to show what makes sense; what is allowed is decided by the
 * server, each time.
 */

/** What the page needs of a token's claims. */
export interface Claims {
  /** The user's id. */
  userId: string;
  /** The user's name, or the id. */
  username: string;
  /** `admin`, `evaluator`, `viewer` or another word. */
  role: string;
  /** The project that the user is held to. */
  projectId: string | null;
  /** Permissions beyond the role's. */
  permissions: string[];
  /** When it ends, ms since 1970. */
  expiresAt: number | null;
}

const VIEWER = ["websocket:connect", "session:read", "session:list"];
const EVALUATOR = [...VIEWER, "session:create", "session:publish", "session:control"];
const ADMIN = [...EVALUATOR, "access:all_projects", "connection:list", "connection:close", "token:revoke", "audit:read", "server:drain"];
const ROLES: Readonly<Record<string, readonly string[]>> = { viewer: VIEWER, evaluator: EVALUATOR, admin: ADMIN };
const AUTOMATED = ["session:create", "session:publish", "session:control"];

function decode(part: string): unknown {
  const base64 = part.replaceAll("-", "+").replaceAll("_", "/");
  const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
}

function text(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}

/** Reads a token's claims; `null` if it is no token. */
export function readClaims(token: string): Claims | null {
  const parts = token.split(".");
  if (parts.length !== 3 || !/^[\w.-]+$/.test(token)) return null;
  let decoded: unknown;
  try {
    decoded = decode(parts[1] ?? "");
  } catch {
    return null;
  }
  if (typeof decoded !== "object" || decoded === null) return null;
  const claims = decoded as Record<string, unknown>;
  const userId = text(claims.userId) ?? text(claims.sub);
  if (userId === null) return null;
  return {
    userId,
    username: text(claims.username) ?? userId,
    role: text(claims.role) ?? "",
    projectId: text(claims.projectId),
    permissions: Array.isArray(claims.permissions) ? claims.permissions.filter((name): name is string => typeof name === "string") : [],
    expiresAt: typeof claims.exp === "number" ? claims.exp * 1000 : null,
  };
}

/** Whether the claims hold a permission, by their role or by name; in a project if one is given. */
export function may(claims: Claims, permission: string, projectId?: string): boolean {
  const own = claims.permissions;
  const byRole = Object.hasOwn(ROLES, claims.role) ? (ROLES[claims.role] ?? []) : [];
  const isAutomated = own.includes("run:automated_tests") && AUTOMATED.includes(permission);
  const has = own.includes("*") || own.includes(permission) || isAutomated || byRole.includes(permission);
  if (!has || projectId === undefined || claims.projectId === null || claims.projectId === projectId) return has;
  return may(claims, "access:all_projects");
}
