import type { ChatClient, ClientSnapshot, RoomSnapshot } from './index.js';

/** A client, whichever events of one's own its socket has. */
type Client = Omit<ChatClient, 'socket'>;

/** The client's snapshot. The component is drawn again when anything in it changes. */
export declare function useChat(client: Client): ClientSnapshot;

/**
 * A room's snapshot; undefined at the first drawing of a room that is not open yet. Opens the room, and leaves it open
 * when the component goes: call `client.leave` to leave it. The component is drawn again when the room changes, not
 * when other rooms do.
 */
export declare function useRoom(client: Client, roomId: string): RoomSnapshot | undefined;

/** How many messages the user has not read, in all rooms that are open or that the user is a member of. */
export declare function useUnread(client: Client): number;
