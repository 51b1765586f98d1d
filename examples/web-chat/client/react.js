// Hooks for React. Components are drawn again when what they use has changed.

import { useCallback, useEffect, useSyncExternalStore } from 'react';

/** The client's snapshot. */
export function useChat(client) {
  return useSyncExternalStore(client.subscribe, client.getSnapshot, client.getSnapshot);
}

/** A room's snapshot. Opens the room, and leaves it open when the component goes. */
export function useRoom(client, roomId) {
  useEffect(() => {
    if (!client.getRoom(roomId)) client.open(roomId);
  }, [client, roomId]);
  const getRoom = useCallback(() => client.getRoom(roomId), [client, roomId]);
  return useSyncExternalStore(client.subscribe, getRoom, getRoom);
}

/** How many messages the user has not read, in all rooms that are open or that the user is a member of. */
export function useUnread(client) {
  const count = useCallback(() => client.getUnread(), [client]);
  return useSyncExternalStore(client.subscribe, count, count);
}
