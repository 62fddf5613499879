/** What a bundle weighs, bytes. */
export interface Size {
  minified: number;
  gzipped: number;
}
export function coreSize(): Promise<Size>;
export function wholeSize(): Promise<Size>;
