// What every server here has in common with the others: its port, its readiness and its end.

/** The port to listen on: the first argument, else PORT, else one that the system chooses. */
export function wantedPort() {
  const text = process.argv[2] ?? process.env.PORT ?? "0";
  const port = Number(text);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    console.error(`the port must be a number from 0 to 65535, not ${text}`);
    process.exit(2);
  }
  return port;
}

/** Says where the server listens; whoever started it waits for this line. */
export function listening(port) {
  console.log(`listening on ${port}`);
}

/** Ends on SIGTERM and SIGINT. */
export function endOnSignal() {
  for (const signal of ["SIGTERM", "SIGINT"]) {
    process.on(signal, () => process.exit(0));
  }
}
