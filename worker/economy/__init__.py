"""The economy lane: lines of batches by OpenAI's Batch API, at half the price, within a day."""
