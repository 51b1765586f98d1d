export enum Limit {
  Content = 20,
}

export function shout(text: string): string {
  return `${text.toUpperCase()}!`;
}
