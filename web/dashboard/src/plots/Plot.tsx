/** A plot with axes, units and hover, drawn by uPlot in the colours of the theme. */
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { colours } from "../theme.js";
import { clock, plain } from "../text/format.js";

/** One line of a plot. */
export interface Series {
  label: string;
  /** Holds its value until the next one. */
  stepped?: boolean;
  /** Draws its points, too. */
  points?: boolean;
}

export interface PlotProps {
  /** Name for screen readers. */
  label: string;
  /** Seconds since 1970, then the values of each series; `null` where there is none. */
  data: (number | null)[][];
  series: Series[];
  /** A value with its unit. */
  format: (value: number) => string;
  height: number;
  /** Only whole numbers on the axis. */
  isCount?: boolean;
  /** Upper end of the axis at the least. */
  atLeast?: number;
  /** Names its line also if it has only one. */
  hasLegend?: boolean;
}

/** Steps of an axis of whole numbers. */
const WHOLE_STEPS = Array.from({ length: 9 }, (_, power) => [1, 2, 5].map((step) => step * 10 ** power)).flat();
/** Steps of the axis of time, s: its labels have whole seconds. */
const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400, 172_800, 604_800, 2_592_000, 31_536_000];
/** Shortest time that a plot shows, s: one reading, or two close together, would give one label many times. */
const SHORTEST = 10;
const DASHES: number[][] = [[], [6, 4], [2, 3], [10, 3, 2, 3]];

/** The colour that a custom property stands for now. */
function colour(name: string, on: HTMLElement): string {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  on.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function axis(on: HTMLElement, more: uPlot.Axis): uPlot.Axis {
  const [text, line] = [colour("--text-2", on), colour("--line", on)];
  return { stroke: text, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif", ...more };
}

/** The last value; of a line that holds its values, the last that there is. */
function newest(values: ArrayLike<number | null | undefined>, isHeld = false): number | null | undefined {
  const all = Array.from(values);
  return isHeld ? all.findLast((value) => typeof value === "number") : all.at(-1);
}

function shown(value: number | null | undefined, format: (value: number) => string): string {
  return typeof value === "number" ? format(value) : "–";
}

/** The times that an axis shows, s, for readings from `first` to `last`: of a single one, uPlot itself would make a day. */
export function timeRange(first: number | undefined, last: number | undefined): [number | null, number | null] {
  if (first === undefined || last === undefined) return [null, null];
  return [Math.min(first, last - SHORTEST), last];
}

/** Labels, each once: a step that is finer than the labels tells nothing by repeating them. */
export function distinct(labels: readonly string[]): string[] {
  return labels.map((label, index) => (label === labels[index - 1] ? "" : label));
}

function optionsOf(props: PlotProps, box: HTMLElement): uPlot.Options {
  const { series, format, height, isCount = false, atLeast = 0 } = props;
  const seconds = (value: number): string => clock(value * 1000).slice(0, 8);
  return {
    width: Math.max(box.clientWidth, 50),
    height,
    legend: { live: true },
    cursor: { y: false, drag: { x: false, y: false } },
    padding: [8, 26, 0, 0],
    scales: { x: { range: ({ data: [times] }) => timeRange(times[0], times.at(-1)) }, y: { range: (_plot, min, max) => [Math.min(Number.isFinite(min) ? min * 1.1 : 0, 0), Math.max(Number.isFinite(max) ? max * 1.1 : 0, atLeast) || 1] } },
    axes: [
      axis(box, { size: 24, space: 70, incrs: TIME_STEPS, values: (_plot, at) => distinct(at.map(seconds)) }),
      axis(box, { size: 64, space: 28, ...(isCount && { incrs: WHOLE_STEPS }), values: (_plot, at) => distinct(at.map((value) => plain(format(value)))) }),
    ],
    series: [
      { label: "", value: (plot, at: number | null, _index, row: number | null) => shown(row === null ? plot.data[0].at(-1) : at, seconds) },
      ...series.map((one, index): uPlot.Series => ({
        label: one.label,
        stroke: colour(`--series-${(index % 4) + 1}`, box),
        width: 1.75,
        dash: DASHES[index % DASHES.length] ?? [],
        points: { show: one.points ?? false, size: 6 },
        spanGaps: one.stepped ?? false,
        // Where nobody points at a moment, the newest value.
        value: (plot, value: number | null, at, row: number | null) => shown(row === null ? newest(plot.data[at] ?? [], one.stepped) : value, format),
        ...(one.stepped && uPlot.paths.stepped && { paths: uPlot.paths.stepped({ align: 1 }) }),
      })),
    ],
  };
}

export function Plot(props: PlotProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const names = props.series.map((one) => one.label).join("\n");
  const palette = colours.value;

  useEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const made = new uPlot(optionsOf(props, element), props.data as uPlot.AlignedData, element);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: Math.max(element.clientWidth, 50), height: props.height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [names, palette, props.height]);

  useEffect(() => {
    plot.current?.setData(props.data as uPlot.AlignedData);
  }, [props.data]);

  return <div class={props.series.length === 1 && !props.hasLegend ? "plot is-single" : "plot"} ref={box} role="img" aria-label={props.label} />;
}
