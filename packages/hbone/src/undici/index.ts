/** To be written next. */
export {}
