/** The only other origin that may connect. */
export const ALLOWED_ORIGIN = 'http://allowed.example';
/** The largest body and WebSocket message, in bytes. */
export const MAX_PAYLOAD = 1_000_000;
