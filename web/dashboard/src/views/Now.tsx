/** How the server is now, and what runs. */
import { useEffect, useRef, useState } from "preact/hooks";
import { account } from "../api/account.js";
import { may } from "../api/claims.js";
import { type Failure, asFailure } from "../api/failure.js";
import type { Stats } from "../api/types.js";
import { serverTime } from "../clock.js";
import { FailureBox } from "../parts/Bits.js";
import { Plot } from "../plots/Plot.js";
import { Samples } from "../plots/samples.js";
import { bytes, threeDigits, whole } from "../text/format.js";
import { latency, span } from "../text/span.js";
import { locale, t } from "../text/index.js";
import { Alerts, RecentChanges, useAlerts } from "./Alerts.js";
import { ByState, Queues, SlowReaders } from "./NowTables.js";
import { RunningNow } from "./RunningNow.js";

/** Time between two looks at the server, ms. */
const EVERY = 1000;

/** What the plots show of each answer, in this order. */
function valuesOf(stats: Stats): (number | null | undefined)[] {
  // Nothing delivered is no latency, not one of zero.
  const delivered = stats.delivered?.count === 0 ? { p50Ms: null, p99Ms: null } : stats.delivered;
  return [
    stats.connectedClients, stats.messagesPerSecond, delivered ? delivered.p50Ms : stats.averageLatency, delivered?.p99Ms,
    stats.errorRate * 100, stats.memoryUsage.rss, stats.cpu, stats.disk?.usedBytes, stats.activeSessions,
  ];
}

/** Values outlive the view: who comes back sees the last minutes. */
const samples = new Samples(9);

interface Tile {
  label: string;
  value: string;
  more?: string;
  /** Columns of the samples, with their labels. */
  lines: [column: number, label: string][];
  format: (value: number) => string;
  isCount?: boolean;
  atLeast: number;
}

function tilesOf(stats: Stats): Tile[] {
  const ms = latency;
  const percent = (value: number): string => `${threeDigits(value)} %`;
  const count = (value: number): string => whole(value, locale.value);
  const { delivered, connectionsByKind: kinds, disk, cpu, fileDescriptors: files } = stats;
  const tiles: (Tile | null)[] = [
    { label: t("now.connections"), value: count(stats.connectedClients), lines: [[1, t("now.connections")]], format: count, isCount: true, atLeast: 4,
      ...(kinds && { more: `${t("now.websocket")} ${count(kinds.websocket)} · ${t("now.stream")} ${count(kinds.stream)}` }) },
    { label: t("now.sessions"), value: count(stats.activeSessions), lines: [[9, t("now.sessions")]], format: count, isCount: true, atLeast: 4,
      ...(stats.stalledSessions !== undefined && { more: t("now.stalled", { n: stats.stalledSessions }) }) },
    { label: t("now.rate"), value: threeDigits(stats.messagesPerSecond), lines: [[2, t("now.rate")]], format: (value) => t("now.perSecond", { n: threeDigits(value) }), atLeast: 1 },
    delivered
      ? { label: t("now.latency"), ...(delivered.count === 0 ? { value: "–", more: t("now.latency.nothing") } : { value: ms(delivered.p50Ms), more: `${t("now.p99")} ${ms(delivered.p99Ms)}` }), lines: [[3, t("now.p50")], [4, t("now.p99")]], format: ms, atLeast: 1 }
      : { label: t("now.latency.none"), value: ms(stats.averageLatency), lines: [[3, t("now.latency.none")]], format: ms, atLeast: 1 },
    { label: t("now.errors"), value: percent(stats.errorRate * 100), lines: [[5, t("now.errors")]], format: percent, atLeast: 1 },
    { label: t("now.memory"), value: bytes(stats.memoryUsage.rss), lines: [[6, t("now.memory")]], format: bytes, atLeast: 1e6 },
    typeof cpu === "number" ? { label: t("now.cpu"), value: threeDigits(cpu), lines: [[7, t("now.cpu")]], format: threeDigits, atLeast: 1,
      ...(files && { more: t("now.files", { used: count(files.used), limit: count(files.limit) }) }) } : null,
    disk ? { label: t("now.disk"), value: bytes(disk.usedBytes), more: t("now.disk.free", { free: bytes(disk.freeBytes) }), lines: [[8, t("now.disk")]], format: bytes, atLeast: 1e6 } : null,
  ];
  return tiles.filter((tile) => tile !== null);
}

function TileBox({ tile, columns }: { tile: Tile; columns: (number | null)[][] }) {
  const data = [columns[0] ?? [], ...tile.lines.map(([column]) => columns[column] ?? [])];
  return (
    <section class="card tile">
      <h2>{tile.label}</h2>
      <p class="big number">{tile.value} {tile.more !== undefined && <span class="more">{tile.more}</span>}</p>
      <Plot label={tile.label} data={data} series={tile.lines.map(([, label]) => ({ label }))} format={tile.format} height={110} isCount={tile.isCount ?? false} atLeast={tile.atLeast} />
    </section>
  );
}

function About({ stats }: { stats: Stats }) {
  const said = [
    stats.version !== undefined && t("now.version", { version: stats.version }),
    stats.node !== undefined && t("now.node", { node: stats.node }),
    stats.uptimeMs !== undefined && t("now.uptime", { time: span(stats.uptimeMs) }),
    t("now.window", { minutes: 10 }),
  ].filter((part) => part !== false);
  return <p class="muted small">{said.join(" · ")}</p>;
}

function Server() {
  const api = account.value?.api;
  const [answer, setAnswer] = useState<{ stats: Stats; columns: (number | null)[][] } | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const isAsking = useRef(false);

  useEffect(() => {
    const ask = async (): Promise<void> => {
      // One question at a time, and none while nobody looks.
      if (!api || isAsking.current || document.hidden) return;
      isAsking.current = true;
      try {
        const stats = await api.stats();
        samples.add(serverTime() ?? Date.now(), valuesOf(stats));
        setAnswer({ stats, columns: samples.read() });
        setFailure(null);
      } catch (error) {
        setFailure(asFailure(error));
      } finally {
        isAsking.current = false;
      }
    };
    void ask();
    const timer = setInterval(() => void ask(), EVERY);
    return () => clearInterval(timer);
  }, [api]);

  const told = useAlerts(api, answer?.stats.alerts?.map(({ name }) => name).join() ?? "");
  if (!answer) return failure ? <FailureBox failure={failure} /> : <p class="muted">{t("session.loading")}</p>;
  const { stats, columns } = answer;
  return (
    <>
      {failure && <p class="box box-warn" role="status">{t("now.paused")}</p>}
      <About stats={stats} />
      {/* That nothing was wrong before the server fell silent is no news. */}
      <Alerts alerts={failure && stats.alerts?.length === 0 ? undefined : stats.alerts} rules={told?.rules ?? []} />
      <div class="tiles">{tilesOf(stats).map((tile) => <TileBox key={tile.label} tile={tile} columns={columns} />)}</div>
      <div class="columns">
        <SlowReaders readers={stats.slowestReaders} />
        <ByState counts={stats.sessionsByState} />
        <Queues queues={stats.queues} />
        <RecentChanges told={told} />
      </div>
    </>
  );
}

export function Now() {
  const who = account.value?.claims;
  const maySee = who !== undefined && may(who, "connection:list");
  return (
    <div class="page">
      <h1>{t("now.title")}</h1>
      {maySee ? <Server /> : <p class="box">{t("now.noStats")}</p>}
      <RunningNow />
    </div>
  );
}
