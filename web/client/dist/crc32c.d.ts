/** CRC-32C (Castagnoli, RFC 3720 appendix B.4), of a text's UTF-8. */
/** The checksum, as eight hexadecimal digits. */
export declare function crc32c(text: string): string;
