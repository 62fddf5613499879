// Prints the path with the query that authorizes a POST of the Pusher protocol: node pusher-sign.mjs KEY SECRET PATH < BODY
import { createHash, createHmac } from "node:crypto";
import { readFileSync } from "node:fs";

const [key, secret, path] = process.argv.slice(2);
const md5 = createHash("md5").update(readFileSync(0)).digest("hex");
const query = `auth_key=${key}&auth_timestamp=${Math.floor(Date.now() / 1000)}&auth_version=1.0&body_md5=${md5}`;
const signature = createHmac("sha256", secret).update(`POST\n${path}\n${query}`).digest("hex");
console.log(`${path}?${query}&auth_signature=${signature}`);
